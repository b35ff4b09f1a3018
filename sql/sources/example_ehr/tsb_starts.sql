SELECT
  start_no AS behandlingsstartID,
  patient_no AS pasientNr,
  referral_no AS henvisningsperiodeID,
  started AS startDato,
  answers ->> 'hovedrusmiddel' AS hovedrusmiddel,
  answers ->> 'inntaksmate' AS inntaksmate,
  answers ->> 'brukshyppighet' AS brukshyppighet,
  answers ->> 'injisering' AS injisering,
  answers ->> 'sproytedeling' AS sproytedeling,
  answers ->> 'substitusjonsbehandling' AS substitusjonsbehandling,
  answers ->> 'tidligereBehandling' AS tidligereBehandling,
  answers ->> 'boforhold' AS boforhold,
  answers ->> 'samliv' AS samliv,
  answers ->> 'omsorgForBarn' AS omsorgForBarn,
  answers ->> 'utdanning' AS utdanning,
  answers ->> 'arbeid' AS arbeid,
  answers ->> 'inntekt' AS inntekt
FROM ehr.treatment_start
