"""The vmware driver: images as files in the datastores of a vCenter or an ESX host."""
