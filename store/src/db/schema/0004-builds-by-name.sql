-- A plan asks for the earlier builds of each of its derivations by name.
CREATE INDEX builds_by_name ON builds (substr(derivation, 34), id);
