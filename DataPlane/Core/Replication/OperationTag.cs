namespace Pollux.DataPlane.Core.Replication;

/// <summary>Lets a completion find the request it answers, without allocation. The front end chooses both values.</summary>
public readonly record struct OperationTag(ulong Unique, ulong Device);
