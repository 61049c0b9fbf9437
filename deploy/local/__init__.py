"""Parts of ``deploy/run-local``; the test suite starts its servers with the same parts."""
