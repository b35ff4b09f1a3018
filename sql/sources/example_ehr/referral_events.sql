SELECT referral_no AS henvisningsperiodeID, no AS tidspunktNr, kind AS typeTidspunkt, happened AS tidspunkt
FROM ehr.referral_event
