"""Operations: placeholder module header replaced below."""
