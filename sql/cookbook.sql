-- Ready queries over npr.duckdb: `duckdb NPR_HOME/npr.duckdb`, then paste one. Each speaks of all periods and units that were
-- run; add WHERE period = '2020-T1' AND unit = '…'. Figures of waiting follow NPR's measures as far as they are published
-- (referrals and not patients, calendar days); whom NPR leaves out by further rules is not left out here.

-- Row accounting: rows delivered = reported + out of scope + quarantined, by table.
WITH decided AS (
  SELECT period, unit, relation, count(*) FILTER (reason IS NULL) AS reported, count(reason) AS out_of_scope
  FROM (
    SELECT period, unit, 'patients' AS relation, reason FROM scope.patients
    UNION ALL SELECT period, unit, 'identities', reason FROM scope.identities
    UNION ALL SELECT period, unit, 'units', reason FROM scope.units
    UNION ALL SELECT period, unit, 'referrals', reason FROM scope.referrals
    UNION ALL SELECT period, unit, 'episodes', reason FROM scope.episodes
    UNION ALL SELECT period, unit, 'contacts', reason FROM scope.contacts
    UNION ALL SELECT period, unit, 'health_personnel', reason FROM scope.health_personnel
    UNION ALL SELECT period, unit, 'conditions', reason FROM scope.conditions
    UNION ALL SELECT period, unit, 'procedures', reason FROM scope.procedures
    UNION ALL SELECT period, unit, 'postponements', reason FROM scope.postponements
    UNION ALL SELECT period, unit, 'referral_events', reason FROM scope.referral_events
    UNION ALL SELECT period, unit, 'tsb_starts', reason FROM scope.tsb_starts
    UNION ALL SELECT period, unit, 'costs', reason FROM scope.costs
  )
  GROUP BY ALL
),
quarantined AS (
  SELECT period, unit, "table" AS relation, count(DISTINCT _row) AS quarantined FROM staging.quarantine GROUP BY ALL
),
delivered AS (
  SELECT period, unit, "table" AS relation, max_by(rows, submission) AS delivered FROM ops.files GROUP BY ALL
)
SELECT period, unit, relation, delivered, coalesce(reported, 0) AS reported, coalesce(out_of_scope, 0) AS out_of_scope,
       coalesce(quarantined, 0) AS quarantined
FROM delivered
LEFT JOIN decided USING (period, unit, relation)
LEFT JOIN quarantined USING (period, unit, relation)
ORDER BY ALL;

-- Quarantine by reason, with the first place to look at.
SELECT period, unit, "table", "column", rule, count(DISTINCT _row) AS rows, min(_row) AS first_row
FROM staging.quarantine
GROUP BY ALL
ORDER BY period, unit, rows DESC, "table", "column", rule;

-- Out of scope by reason: episodes and referrals that were delivered and lie outside the period.
SELECT period, unit, relation, reason, count(*) AS rows
FROM (
  SELECT period, unit, 'episodes' AS relation, reason FROM scope.episodes
  UNION ALL SELECT period, unit, 'referrals', reason FROM scope.referrals
)
WHERE reason IS NOT NULL
GROUP BY ALL
ORDER BY ALL;

-- Waiting at period end, by specialty: referrals without end of waiting then, and days waited so far.
WITH ends AS (SELECT period, unit, tilDatoPeriode AS last_day FROM message.ord_Melding),
waiting AS (
  SELECT period, unit, fagomrade,
         date_diff('day', CASE WHEN ansienDato > mottaksDato THEN mottaksDato ELSE coalesce(ansienDato, mottaksDato) END,
                   last_day) AS days
  FROM staging.referrals JOIN ends USING (period, unit)
  WHERE coalesce(mottaksDato, ansienDato) <= last_day
    AND (ventetidSluttDato IS NULL OR ventetidSluttDato > last_day)
    AND (sluttDato IS NULL OR sluttDato > last_day)
    AND coalesce(rettTilHelsehjelp, '') NOT IN ('5', '6') -- no need, or not subject to assessment
)
SELECT period, unit, fagomrade, count(*) AS referrals, round(avg(days), 1) AS mean_days, median(days) AS median_days,
       round(quantile_cont(days, 0.9), 1) AS p90_days
FROM waiting GROUP BY ALL ORDER BY period, unit, referrals DESC, fagomrade;

-- Waiting that ended in the period with care started and no postponement by patient or for medical reasons.
WITH bounds AS (SELECT period, unit, fraDatoPeriode AS first_day, tilDatoPeriode AS last_day FROM message.ord_Melding),
ended AS (
  SELECT r.period, r.unit,
         date_diff('day', CASE WHEN ansienDato > mottaksDato THEN mottaksDato ELSE coalesce(ansienDato, mottaksDato) END,
                   ventetidSluttDato) AS days
  FROM staging.referrals AS r JOIN bounds AS b USING (period, unit)
  WHERE ventetidSluttKode = '1' AND ventetidSluttDato BETWEEN first_day AND last_day
    AND NOT EXISTS (
      FROM staging.postponements AS p
      WHERE p.period = r.period AND p.unit = r.unit AND p.henvisningsperiodeID = r.henvisningsperiodeID
        AND utsettKode IN ('3', '4', '5', '21', '22')
    )
)
SELECT period, unit, count(*) AS referrals, round(avg(days), 1) AS mean_days, median(days) AS median_days,
       round(quantile_cont(days, 0.9), 1) AS p90_days
FROM ended GROUP BY ALL ORDER BY ALL;

-- Deadline breaches: right to care, and care started after the deadline, or still waiting past it at period end.
SELECT period, unit, fagomrade,
       count(*) FILTER (ventetidSluttKode = '1' AND ventetidSluttDato BETWEEN fraDatoPeriode AND tilDatoPeriode
                        AND ventetidSluttDato > fristStartBehandling) AS started_late,
       count(*) FILTER ((ventetidSluttDato IS NULL OR ventetidSluttDato > tilDatoPeriode)
                        AND fristStartBehandling < tilDatoPeriode) AS waiting_past_deadline
FROM staging.referrals JOIN message.ord_Melding USING (period, unit)
WHERE rettTilHelsehjelp = '3' AND coalesce(mottaksDato, ansienDato) <= tilDatoPeriode
GROUP BY ALL HAVING started_late + waiting_past_deadline > 0 ORDER BY ALL;

-- Reported episodes by omsorgsniva and department.
SELECT e.period, e.unit, u.enhetNavn AS department, e.omsorgsniva, count(*) AS episodes, count(DISTINCT e._patient) AS patients
FROM staging.episodes AS e
JOIN scope.episodes AS s ON (s.period, s.unit, s._row) = (e.period, e.unit, e._row) AND s.reason IS NULL
LEFT JOIN staging.units AS u ON (u.period, u.unit, u.enhetID) = (e.period, e.unit, e.avdelingID)
GROUP BY ALL ORDER BY ALL;

-- Days of stay by department, and stays that were open when the period ended.
SELECT e.period, e.unit, u.enhetNavn AS department, count(*) AS stays,
       count(*) FILTER (e.utDatoTid IS NULL OR e.utDatoTid::DATE > m.tilDatoPeriode) AS open_at_end,
       round(avg(date_diff('day', e.innDatoTid, e.utDatoTid)) FILTER (e.utDatoTid::DATE <= m.tilDatoPeriode), 1) AS mean_days
FROM staging.episodes AS e
JOIN scope.episodes AS s ON (s.period, s.unit, s._row) = (e.period, e.unit, e._row) AND s.reason IS NULL
JOIN message.ord_Melding AS m ON (m.period, m.unit) = (e.period, e.unit)
LEFT JOIN staging.units AS u ON (u.period, u.unit, u.enhetID) = (e.period, e.unit, e.avdelingID)
WHERE e.omsorgsniva = '1'
GROUP BY ALL ORDER BY ALL;

-- Outpatient contacts by kind and place, month by month.
SELECT e.period, e.unit, strftime(e.innDatoTid, '%Y-%m') AS month, c.kontaktType, c.stedAktivitet, count(*) AS contacts
FROM staging.episodes AS e
JOIN scope.episodes AS s ON (s.period, s.unit, s._row) = (e.period, e.unit, e._row) AND s.reason IS NULL
JOIN staging.contacts AS c ON (c.period, c.unit, c.episodeID) = (e.period, e.unit, e.episodeID)
WHERE e.omsorgsniva IN ('2', '3')
GROUP BY ALL ORDER BY ALL;

-- The twenty most frequent main conditions (three-character category) of reported episodes.
WITH main AS (
  SELECT c.*
  FROM staging.conditions AS c
  JOIN scope.conditions AS s ON (s.period, s.unit, s._row) = (c.period, c.unit, c._row) AND s.reason IS NULL
  QUALIFY row_number() OVER (PARTITION BY c.period, c.unit, c.episodeID ORDER BY c.tilstNr, c.kodeNr) = 1
)
SELECT period, unit, Kodeverk, left(kodeVerdi, 3) AS category, count(*) AS episodes
FROM main GROUP BY period, unit, Kodeverk, category
QUALIFY row_number() OVER (PARTITION BY period, unit ORDER BY episodes DESC, category) <= 20
ORDER BY period, unit, episodes DESC, category;

-- Findings by what NPR would do with the row.
SELECT period, unit, module, consequence, rule, class, count(*) AS rows, count(DISTINCT _patient) AS patients
FROM finding.findings
GROUP BY ALL
ORDER BY period, unit, module, rows DESC, rule;

-- What NPR would keep, by class, and what is lost to which rule.
SELECT period, unit, module, class, rows, kept, dropped, blanked AS rows_with_a_blanked_value
FROM finding.verdict
WHERE dropped + blanked > 0
ORDER BY ALL;

-- Records lost, by department and rule.
SELECT period, unit, enhet AS department, rule, class, rows
FROM finding.lost
WHERE class IN ('Episode', 'Henvisningsperiode', 'Behandlingsstart', 'EpisodeKPP', 'PasientIdent')
ORDER BY period, unit, rows DESC, department, rule, class;

-- The work list: what is open, by department and rule, and how much of it is new since the run before.
SELECT period, unit, enhet AS department, rule, consequence,
       count(*) FILTER (status = 'new') AS new, count(*) FILTER (status = 'persisting') AS persisting, sum(below) AS below
FROM finding.work_list
WHERE status IN ('new', 'persisting')
GROUP BY ALL
ORDER BY period, unit, new + persisting DESC, department, rule;

-- Findings with the submissions in which they were there first and last.
SELECT w.period, w.unit, w.rule, w.status, w.record, w."table", w._row, min(first.submission) AS first_submission,
       max(last.submission) AS last_submission
FROM finding.work_list AS w
LEFT JOIN ops.manifests AS first ON (first.period, first.unit, first.snapshot) = (w.first_period, w.unit, w.first_snapshot)
LEFT JOIN ops.manifests AS last ON (last.period, last.unit, last.snapshot) = (w.last_period, w.unit, w.last_snapshot)
GROUP BY ALL
ORDER BY ALL;

-- How work on the findings goes: resolved and still open, by rule and the period in which they were seen first.
SELECT period, unit, rule, first_period, count(*) FILTER (status = 'resolved') AS resolved,
       count(*) FILTER (status <> 'resolved') AS still_there, max(last_seen) AS last_seen
FROM finding.ledger
GROUP BY ALL ORDER BY ALL;

-- Guards that speak: figures unlike those of earlier submissions, and what has no baseline.
SELECT period, unit, guard, status, value, now, before, text FROM finding.guards WHERE status <> 'ok' ORDER BY ALL;

-- Episodes late, changed and vanished since the previous report of the year, by department.
SELECT period, unit, against, kind, enhet AS department, count(kind) AS episodes
FROM (SELECT DISTINCT period, unit FROM finding.verdict) LEFT JOIN finding.overlap USING (period, unit)
GROUP BY ALL ORDER BY ALL;

-- The waiting list as it would be published, by sector (certainty C).
SELECT period, unit, sektor, new, started, ordinary, round(mean_days, 1) AS mean_days, median_days, p90_days, waiting,
       breaches_started, breaches_waiting, excluded, certainty
FROM finding.waiting_list ORDER BY ALL;

-- Shipment sizes: the newest submission of each period and unit, with the share of the limit that is used.
SELECT period, unit, submission, module, part, parts, patients, packed_bytes, limit_bytes,
       round(100.0 * packed_bytes / limit_bytes, 1) AS percent_of_limit
FROM ops.shipments
QUALIFY submission = max(submission) OVER (PARTITION BY period, unit)
ORDER BY ALL;

-- What was sent and from what: all submissions, newest first.
SELECT period, unit, submission, created_at, profile, source_system, environment, extracted_at, snapshot
FROM ops.manifests
ORDER BY created_at DESC, period, unit;
