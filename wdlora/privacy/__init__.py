"""Names that may tell who a patient is: found in graphs, pictures and folders, and replaced by pseudonyms.

`pseudonym`: what a name becomes.  `names`: which strings of a graph name input files.  `png`: text in PNG files.
`tree`: whole folders of files, rewritten in place.
"""
