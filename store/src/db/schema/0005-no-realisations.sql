-- No command ever read this table: actions and derivation_outputs hold all that it said.
DROP TABLE realisations;
