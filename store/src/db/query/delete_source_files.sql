DELETE FROM source_files
