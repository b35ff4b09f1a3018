-- Findings as they stand on the day the view is read: a waiver that has run out counts no more.
CREATE VIEW finding.work_list AS
SELECT l.period, l.unit, l.rule, l.consequence,
       CASE WHEN l.status <> 'resolved' AND coalesce(f.subject, r.subject) IS NOT NULL THEN 'waived' ELSE l.status END
         AS status,
       l.enhet, l.module, l.class, l."table", l._row, l.fields, l.record, l.fingerprint, l."count", l.below,
       l.first_seen, l.first_period, l.first_snapshot, l.last_seen, l.last_period, l.last_snapshot,
       CASE WHEN f.subject IS NULL THEN r."by" ELSE f."by" END AS waived_by,
       CASE WHEN f.subject IS NULL THEN r.until ELSE f.until END AS waived_until,
       CASE WHEN f.subject IS NULL THEN r.why ELSE f.why END AS waived_why
FROM finding.ledger AS l
LEFT JOIN finding.waivers AS f
  ON (f.period, f.unit, f.subject) = (l.period, l.unit, l.fingerprint) AND coalesce(f.until, current_date) >= current_date
LEFT JOIN finding.waivers AS r
  ON (r.period, r.unit, r.subject) = (l.period, l.unit, l.rule) AND coalesce(r.until, current_date) >= current_date;
