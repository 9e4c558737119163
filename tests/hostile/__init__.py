"""Input that hurt some messaging library once; rows are those of the hostile list."""
