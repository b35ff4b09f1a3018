-- Unquoted names are folded by PostgreSQL (pasientnr); npr matches columns whatever their case.
SELECT
  patient_no AS pasientNr,
  CASE sex WHEN 'M' THEN '1' WHEN 'F' THEN '2' WHEN 'X' THEN '9' ELSE coalesce(sex, '0') END AS kjonn,
  coalesce(birth_year, 0) AS fodselsar,
  birth_weight_g AS fodselsvekt
FROM ehr.patient
