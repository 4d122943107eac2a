from lesion_transfer.quiet import quiet_start

quiet_start()  # and no telemetry: the tests use no network
