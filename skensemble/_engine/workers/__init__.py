"""How members are spread over joblib workers: which parts pay, what is sent, what comes back."""
