return await Pollux.DataPlane.Commands.HostCommandLine.RunAsync(args);
