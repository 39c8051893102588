"""The service that trains, through the SDK: opened, watched, waited for, started again."""
