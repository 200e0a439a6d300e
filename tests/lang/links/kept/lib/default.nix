"of the directory it was reached by"
