-- The only query that selects an identity. Its rows go to the identity tree at once.
SELECT patient_no AS pasientNr, number AS fid, kind AS typeID, birth_date AS fodselsdato
FROM ehr.person_number
