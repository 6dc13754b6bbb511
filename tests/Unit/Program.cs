using System.Globalization;
using Pollux.Tests.Unit.Volumes;

return args switch
{
    ["serve-volume", var directory, var state, var socket] => ServingProcess.Run(directory, state, socket),
    ["serve-on-loop", var directory, var state, var socket, var epoch] => ServingProcess.RunOnLoop(directory, state, socket, long.Parse(epoch, CultureInfo.InvariantCulture)),
    ["hammer-mount", var directory] => MountHammer.Run(directory),
    ["use-mount", var directory] => MountUser.Run(directory),
    _ => 2,
};
