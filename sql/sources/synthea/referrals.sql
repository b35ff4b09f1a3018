-- Synthea knows no referrals.
SELECT NULL::VARCHAR AS henvisningsperiodeID, NULL::VARCHAR AS pasientNr WHERE false
