"""What the header of a JPEG XL codestream holds (ISO/IEC 18181-1): bits, entropy coding, the ICC profile."""
