-- The tables of the invented record system, in PostgreSQL. No query of the mapping: npr reads TABLE.sql one folder up.
-- npr needs a role that may read, and nothing more:
--   CREATE ROLE npr_reader LOGIN PASSWORD '…'; GRANT USAGE ON SCHEMA ehr TO npr_reader;
--   GRANT SELECT ON ALL TABLES IN SCHEMA ehr TO npr_reader; ALTER ROLE npr_reader SET default_transaction_read_only = on;
CREATE SCHEMA ehr;

CREATE TABLE ehr.patient (
  patient_no text PRIMARY KEY,
  sex char(1) CHECK (sex IN ('M', 'F', 'X')), -- NULL: not known
  birth_year integer,
  birth_weight_g integer
);

CREATE TABLE ehr.person_number (
  patient_no text PRIMARY KEY REFERENCES ehr.patient,
  number text, -- NULL: none is known, and the date of birth stands in
  kind smallint NOT NULL, -- as in list 9032
  birth_date date
);

CREATE TABLE ehr.org_unit (
  code text PRIMARY KEY,
  org_no text,
  name text,
  sector text,
  department_code text,
  resh_id bigint,
  isf_right boolean,
  short_name text
);

CREATE TABLE ehr.referral (
  referral_no text PRIMARY KEY,
  patient_no text NOT NULL REFERENCES ehr.patient,
  received date,
  first_received date,
  assessed date,
  right_to_care smallint,
  legal_deadline date,
  appointment_given date,
  wait_ended date,
  wait_end_reason smallint,
  closed date,
  kind text,
  formality text,
  from_service text,
  to_service text,
  from_institution text,
  to_institution text,
  specialty text,
  care_level smallint,
  payer text,
  new_condition smallint,
  insured_in text,
  municipality text,
  district text,
  treatment_unit text REFERENCES ehr.org_unit,
  specialist_unit text REFERENCES ehr.org_unit,
  department text REFERENCES ehr.org_unit
);

CREATE TABLE ehr.referral_postponement (
  referral_no text NOT NULL REFERENCES ehr.referral,
  no integer NOT NULL,
  postponed date NOT NULL,
  reason text NOT NULL,
  PRIMARY KEY (referral_no, no)
);

CREATE TABLE ehr.referral_event (
  referral_no text NOT NULL REFERENCES ehr.referral,
  no integer NOT NULL,
  kind text NOT NULL,
  happened timestamptz NOT NULL,
  PRIMARY KEY (referral_no, no)
);

CREATE TABLE ehr.encounter (
  encounter_no text PRIMARY KEY,
  patient_no text NOT NULL REFERENCES ehr.patient,
  referral_no text REFERENCES ehr.referral,
  started timestamptz NOT NULL,
  ended timestamptz,
  care_level smallint NOT NULL,
  payer text NOT NULL,
  municipality text NOT NULL,
  district text,
  state_in smallint NOT NULL,
  state_out smallint,
  urgency smallint NOT NULL,
  from_place text,
  to_place text,
  from_institution text,
  to_institution text,
  specialty text,
  municipal_service text,
  days_on_leave integer,
  treatment_unit text NOT NULL REFERENCES ehr.org_unit,
  specialist_unit text NOT NULL REFERENCES ehr.org_unit,
  department text NOT NULL REFERENCES ehr.org_unit,
  ward text REFERENCES ehr.org_unit,
  contact_kind text NOT NULL,
  place_of_activity text NOT NULL,
  indirect_kind text,
  activity_form text
);

CREATE INDEX ON ehr.encounter (ended);

CREATE TABLE ehr.encounter_staff (
  encounter_no text NOT NULL REFERENCES ehr.encounter,
  no integer NOT NULL,
  profession text NOT NULL,
  specialist text,
  role text,
  hpr_no bigint,
  PRIMARY KEY (encounter_no, no)
);

CREATE TABLE ehr.diagnosis (
  encounter_no text NOT NULL REFERENCES ehr.encounter,
  condition_no integer NOT NULL,
  code_no integer NOT NULL,
  code_system text NOT NULL,
  code_year integer NOT NULL,
  code text NOT NULL, -- as shown, with a point: J35.3
  PRIMARY KEY (encounter_no, condition_no, code_no)
);

CREATE TABLE ehr.procedure (
  encounter_no text NOT NULL REFERENCES ehr.encounter,
  service_no integer NOT NULL,
  started timestamptz NOT NULL,
  ended timestamptz,
  measure_no integer NOT NULL,
  measure_kind text NOT NULL,
  procedure_no integer NOT NULL,
  condition_no integer,
  code_no integer NOT NULL,
  code_system text NOT NULL,
  code_year integer NOT NULL,
  code text NOT NULL,
  PRIMARY KEY (encounter_no, service_no, measure_no, procedure_no, code_no)
);

CREATE TABLE ehr.treatment_start (
  start_no text PRIMARY KEY,
  patient_no text NOT NULL REFERENCES ehr.patient,
  referral_no text REFERENCES ehr.referral,
  started date NOT NULL,
  answers jsonb NOT NULL -- the form, by the names of the register
);

CREATE TABLE ehr.cost (
  encounter_no text NOT NULL REFERENCES ehr.encounter,
  no integer NOT NULL,
  drg text,
  total numeric(12, 2),
  cost_code text,
  amount numeric(12, 2),
  PRIMARY KEY (encounter_no, no)
);
