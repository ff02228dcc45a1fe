"""Feast, MLflow, CatBoost, DuckDB and SQL behind the ports; none of them knows another."""
