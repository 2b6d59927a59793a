"""The families of procedural objects: builders that turn a random generator into painted parts and a caption."""
