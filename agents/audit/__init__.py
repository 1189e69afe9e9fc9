"""Find the wrong labels of a data set, estimate how many there are, and repair them.

One module a signal (`confident`, `filters`, `scores`, `neighbours`, `judges`, `annotators`), one for
their combination (`suspicion`), and one each for what follows: `estimate`, `sheet`, `repair`,
`exchange`, `stability`, `page`. All are array-level; `run` puts them together for the command line.
"""
