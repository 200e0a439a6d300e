"of the folder it was reached by"
