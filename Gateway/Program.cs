using Pollux.Gateway.Commands;

return await PolluxCommandLine.RunAsync(args);
