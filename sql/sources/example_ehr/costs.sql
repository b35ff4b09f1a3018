SELECT
  c.encounter_no AS episodeID,
  c.drg,
  c.total,
  c.no AS kostnadNr,
  c.cost_code AS kostnadKode,
  c.amount AS kostnad
FROM ehr.cost AS c
JOIN ehr.encounter AS e ON e.encounter_no = c.encounter_no
WHERE e.ended IS NULL OR e.ended >= date_trunc('year', :period_from) - interval '1 year'
