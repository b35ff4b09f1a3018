SELECT referral_no AS henvisningsperiodeID, no AS utsettNr, postponed AS utsettDato, reason AS utsettKode
FROM ehr.referral_postponement
