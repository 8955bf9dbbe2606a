"""Videos: an SDR file in, an HDR file out, with sound, subtitles and time stamps kept. Needs the extra ``video``."""
