-- One row per raw patient. Nobody here has a Norwegian number, so each has the birth date as ddmmyy with typeID 9 (annet),
-- as XPR(ide) 53.1.2 asks where there is no valid number. IDENTIFIERS_JSON holds foreign numbers and is not read.
SELECT
  _row AS _source_row,
  Id AS pasientNr,
  substr(BIRTHDATE, 9, 2) || substr(BIRTHDATE, 6, 2) || substr(BIRTHDATE, 3, 2) AS fid,
  '9' AS typeID
FROM raw.patients
