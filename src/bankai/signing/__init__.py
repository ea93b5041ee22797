"""Keys and signatures of patch files, in minisign's formats."""
