-- Times are instants here (timestamptz); npr writes them as Norwegian local time.
-- Left out is what ended before the year before the period: no report asks for it, and its rows are most of the table. The
-- queries of what belongs to encounters say the same, so that nothing is without its parent.
SELECT
  encounter_no AS episodeID,
  patient_no AS pasientNr,
  referral_no AS henvisningsperiodeID,
  started AS innDatoTid,
  ended AS utDatoTid,
  care_level AS omsorgsniva,
  payer AS debitor,
  municipality AS komNrHjem,
  district AS bydel,
  state_in AS inntilstand,
  state_out AS utTilstand,
  urgency AS innmateHast,
  from_place AS fraSted,
  to_place AS tilSted,
  from_institution AS fraInstitusjonID,
  to_institution AS tilInstitusjonID,
  specialty AS episodeFag,
  municipal_service AS kommTjeneste,
  days_on_leave AS permisjonsdogn,
  treatment_unit AS behandlingsstedID,
  specialist_unit AS fagenhetID,
  department AS avdelingID,
  ward AS tjenesteenhetID
FROM ehr.encounter
WHERE ended IS NULL OR ended >= date_trunc('year', :period_from) - interval '1 year'
