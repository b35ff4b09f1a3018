-- One row per organisation. It has no organisation number, RESH-id or department code.
SELECT
  _row AS _source_row,
  Id AS enhetID,
  left(NAME, 100) AS enhetNavn
FROM raw.organizations
