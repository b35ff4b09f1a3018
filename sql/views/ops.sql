-- What was run and made, from the manifests of all submissions. {home} is NPR_HOME.
CREATE VIEW ops.manifests AS
SELECT key.period AS period, key.unit AS unit, submission, profile, created_at, pipeline,
       snapshot.id AS snapshot, snapshot.source_system AS source_system, snapshot.environment AS environment,
       snapshot.extracted_at AS extracted_at
FROM read_json('{home}/submissions/*/*/*/parts/manifest.json', union_by_name = true, maximum_depth = 3);

CREATE VIEW ops.shipments AS
SELECT key.period AS period, key.unit AS unit, submission, part.module AS module, part.part AS part, part.parts AS parts,
       part.patients AS patients, part.packed_bytes AS packed_bytes, part.limit_bytes AS limit_bytes,
       part.sha256 AS sha256, part.msg_id AS msg_id, part.lopenr AS lopenr
FROM (SELECT key, submission, unnest(shipments) AS part
      FROM read_json('{home}/submissions/*/*/*/parts/manifest.json', union_by_name = true));

CREATE VIEW ops.messages AS
SELECT key.period AS period, key.unit AS unit, submission, message.module AS module, message.version AS version,
       message.patients AS patients, message.records AS records, message.bytes AS bytes, message.sha256 AS sha256
FROM (SELECT key, submission, unnest(messages) AS message
      FROM read_json('{home}/submissions/*/*/*/parts/manifest.json', union_by_name = true));

CREATE VIEW ops.files AS
SELECT key.period AS period, key.unit AS unit, submission, file."table" AS "table", file.name AS name, file.rows AS rows,
       file.sha256 AS sha256, file.format AS format, file.encoding AS encoding, file.separator AS separator,
       file.decided AS decided
FROM (SELECT key, submission, unnest(snapshot.files) AS file
      FROM read_json('{home}/submissions/*/*/*/parts/manifest.json', union_by_name = true));
