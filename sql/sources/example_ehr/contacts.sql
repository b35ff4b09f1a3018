SELECT
  encounter_no AS episodeID,
  contact_kind AS kontaktType,
  place_of_activity AS stedAktivitet,
  indirect_kind AS polIndir,
  activity_form AS polkonAktivitet
FROM ehr.encounter
WHERE ended IS NULL OR ended >= date_trunc('year', :period_from) - interval '1 year'
