-- Who objected to advertising and profiling: few, and asked for in every plan.
CREATE INDEX consent_state_objected ON consent_state (customer_id) WHERE state = 5;
