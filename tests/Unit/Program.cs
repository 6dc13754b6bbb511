using Pollux.Tests.Unit.Volumes;

return args switch
{
    ["serve-volume", var directory, var state, var socket] => ServingProcess.Run(directory, state, socket),
    ["use-mount", var directory] => MountUser.Run(directory),
    _ => 2,
};
