SELECT
  code AS enhetID,
  org_no AS orgNr,
  name AS enhetNavn,
  sector AS sektor,
  department_code AS offAvdKode,
  resh_id AS reshID,
  CASE WHEN isf_right THEN '1' WHEN NOT isf_right THEN '2' END AS isfRefusjon, -- list 1101: 1 yes, 2 no
  short_name AS enhetLokal
FROM ehr.org_unit
