-- No command ever read this table: actions and derivation_outputs have all of its content.
DROP TABLE realisations;
