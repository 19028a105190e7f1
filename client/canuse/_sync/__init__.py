"""The methods of `canuse.Client`, generated from those of `canuse.AsyncClient`; see `canuse._async`."""
