-- Synthea knows no referrals.
SELECT NULL AS henvisningsperiodeID, NULL AS pasientNr WHERE false
