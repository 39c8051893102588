"""The service that trains, through the SDK: opened, checked, waited for, restarted."""
