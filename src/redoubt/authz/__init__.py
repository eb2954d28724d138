"""Authorization: Cedar policies, who decides by them, and who may change them."""
