"""Configs, a YAML per recipe, under the recipe's name; the first line says what it shows. `heads/`: of heads."""
