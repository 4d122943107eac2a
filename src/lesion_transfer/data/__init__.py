"""From files to arrays: records, adapters, decoding, the image store, designs and splits.

The way through: :func:`adapters.open_dataset` lists a data set's images,
:func:`build.build_store` prepares them once, :func:`designs.labels_for` gives them classes and
:func:`splits.five_by_two` divides them.
"""
