"""What each host states about its files before they are downloaded."""
