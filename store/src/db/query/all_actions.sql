SELECT action, node FROM actions
