SELECT
  s.encounter_no AS episodeID,
  s.no AS helsepersonNr,
  s.profession AS polUtforende,
  s.specialist AS spesialist,
  s.role AS rolle,
  s.hpr_no AS helsepersonHPR
FROM ehr.encounter_staff AS s
JOIN ehr.encounter AS e ON e.encounter_no = s.encounter_no -- a foreign key: no row is lost
WHERE e.ended IS NULL OR e.ended >= date_trunc('year', :period_from) - interval '1 year'
