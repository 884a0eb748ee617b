"""Fuzz targets: properties that hold for every input, run briefly by the suite and for longer by ``make fuzz``.

A target is a function of bytes that raises where a property does not hold: see :mod:`tests.fuzz.targets`. The same
functions are run by atheris, whose inputs are guided by coverage, and by Hypothesis, which installs everywhere.
"""
