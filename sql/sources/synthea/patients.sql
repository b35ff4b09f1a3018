-- One row per raw patient. Names, address and identifiers are not read.
-- kjonn (list 3101): what is neither male nor female nor FHIR's other/unknown goes on as it is, to the check of codes.
SELECT
  _row AS _source_row,
  Id AS pasientNr,
  CASE lower(GENDER)
    WHEN 'male' THEN '1' WHEN 'm' THEN '1'
    WHEN 'female' THEN '2' WHEN 'f' THEN '2'
    WHEN 'other' THEN '9'
    WHEN 'unknown' THEN '0'
    ELSE coalesce(GENDER, '0')
  END AS kjonn,
  coalesce(left(BIRTHDATE, 4), '0') AS fodselsar -- 0 when unknown
FROM raw.patients
