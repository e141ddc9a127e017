"""What other libraries for SMTP do, and ours, shown by running them: `python -m tests.comparison --record`.

`rows` has the questions, `clients`, `servers` and `programs` the probes that answer them, the same for every library;
`libraries` how each library is told to do what a probe wants.  `worker` runs them in the environment of a library, and
`recorded` keeps what came out, for the README and the documentation.
"""
